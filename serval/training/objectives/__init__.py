"""What is to become small. An objective is called ``objective(model, batch)`` and gives a `Loss`."""
