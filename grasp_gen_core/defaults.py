"""What is used where nothing else is asked for: the systems that win in docs/results.md."""

GENERATOR = "dvqvae"
REFINER = "quick"
COMPLETION = "exit_depth"
RANKING = "evaluator"
