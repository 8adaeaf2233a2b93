"""Figures side by side: what Celeriac costs, beside what else does the same work. ``make bench`` measures them."""
