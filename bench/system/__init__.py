"""Process and machine: files, downloads, memory, progress, Ctrl-C."""
