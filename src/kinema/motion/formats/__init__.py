"""One file a format. Each reads folders, zips and single files into clips."""
