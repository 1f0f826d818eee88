"""What a number of right answers is worth: intervals, paired tests, AUC, said in a sentence."""
