"""How a command's life is shown: to people and to programs."""
