"""Where motion comes from."""
