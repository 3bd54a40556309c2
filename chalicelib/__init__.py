"""Daybook: Stripe and PayPal webhooks, proven genuine and recorded exactly once."""
