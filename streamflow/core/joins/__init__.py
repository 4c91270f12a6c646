"""How data of several inputs that come at different rates are brought together: one policy per file."""
