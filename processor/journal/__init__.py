"""The whole journal for other people's accounting programs: beancount and hledger."""
