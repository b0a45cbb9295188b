"""Declarative plan, apply and lock for Globus Compute endpoints and Chiltepin pools."""
