"""What does this motion mean? One file a paper."""
