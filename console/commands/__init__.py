"""The commands of the console: a module for each group of commands, or for one long command."""
