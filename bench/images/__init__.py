"""One image file: decoded as a rule says, or inspected."""
