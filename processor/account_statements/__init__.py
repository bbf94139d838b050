"""What a customer is sent about an account: its transfers in a period, as CSV and as PDF. Not a bank's statement of
ours, which is processor.reconciliation's."""
