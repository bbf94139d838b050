"""What happens by the clock: one leading process says 'it is time', and the database knows what is due."""
