"""What the verbs of the command line do: thin, each calls the rooms and prints."""
