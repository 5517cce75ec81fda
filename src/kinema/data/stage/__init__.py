"""The stage: our own procedural world of moving people."""
