"""What a motion is: skeletons, clips, coordinates and files."""
