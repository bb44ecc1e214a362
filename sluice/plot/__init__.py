"""Pictures of a run's results. matplotlib comes with the extra `plots`, and is loaded only when something is drawn."""
