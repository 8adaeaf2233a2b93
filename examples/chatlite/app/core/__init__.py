"""Configuration, task base class and the few Redis records of the application."""
