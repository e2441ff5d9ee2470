"""The commands, thin: they read arguments, call the rooms, and print. Imports everything, late."""
