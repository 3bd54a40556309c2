"""Daybook on one machine: embedded AWS, the app, the queues' consumers and a PayPal of our own."""
