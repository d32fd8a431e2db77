// Register a device with Microsoft's clients, and print its registration's state. The argument is a JSON file.
'use strict';

const { readFileSync } = require('fs');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Http } = require('azure-iot-provisioning-device-http');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { X509Security } = require('azure-iot-security-x509');

const asked = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const security = asked.key
  ? new SymmetricKeySecurityClient(asked.name, asked.key)
  : new X509Security(asked.name, { cert: asked.certificate, key: asked.certificateKey });
const client = ProvisioningDeviceClient.create(asked.host, asked.idScope, new Http(), security);
client.setProvisioningPayload(asked.payload);
client.register((error, result) => {
  if (error) {
    console.error(`${error.name}: ${error.message} ${error.responseBody || ''}`);
    process.exit(1);
  }
  console.log(JSON.stringify(result));
});
