"""From a module of the user's to a pipeline that can run, and what is known of it beforehand."""
