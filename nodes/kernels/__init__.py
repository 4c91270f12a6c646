"""Pure functions of arrays that the ready-made nodes are thin over; NumPy is the oracle for every other backend."""
