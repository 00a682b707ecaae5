"""What makes a start quick: what an earlier start found out, and where the seconds went."""
