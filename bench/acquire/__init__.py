"""Getting data sets, and checking what is on this machine."""
