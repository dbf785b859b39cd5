"""What a number is: metrics, scores, intervals, the protocol card."""
