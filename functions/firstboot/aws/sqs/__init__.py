"""Queues, and the dead-letter queues behind them."""
