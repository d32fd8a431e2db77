"""The operator's command line. It invokes the Lambda function `operate`, which IAM authorises."""
