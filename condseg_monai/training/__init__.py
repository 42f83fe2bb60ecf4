"""Training: trainers, batch preparation, stage hand-over, learning-rate schedules and handlers."""
