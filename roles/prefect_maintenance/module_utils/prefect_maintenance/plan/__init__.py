"""What goes, how, and what that costs."""
