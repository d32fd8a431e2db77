"""The Lambda functions of `operate`: the operator's calls, by Lambda Invoke with IAM authorisation."""

from firstboot.operate import build
from firstboot.operate.settings import OperateSettings, ReadSettings
from firstboot.runtime.invoke import invoke_function

invoke = invoke_function("operate", build.invoke, OperateSettings.read)
read = invoke_function("operate", build.read, ReadSettings.read)
