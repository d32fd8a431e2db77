"""The Lambda function of `operate`: the operator's calls, by IAM-authorised Invoke."""

from firstboot.operate import build
from firstboot.runtime.invoke import invoke_function
from firstboot.runtime.settings import OperateSettings

invoke = invoke_function("operate", build.invoke, OperateSettings.read)
