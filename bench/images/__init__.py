"""One image file: decoding by a rule, and inspection."""
