"""How a method is trained: one loop, one checkpoint, one log."""
