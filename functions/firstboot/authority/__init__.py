"""The issuing CA's life: made once by a deployment, then only read and watched."""
