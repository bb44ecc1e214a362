"""Making the demo models: the task's texts, the three small architectures, the training loop and the cards."""
