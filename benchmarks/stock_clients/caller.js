// A stock client of Node: sends one message at a fixed rate and prints how the calls ended, as JSON.
'use strict';
const grpc = require('@grpc/grpc-js');

const plan = JSON.parse(process.argv[2]);
const body = Buffer.from(plan.body, 'base64');
const options = plan.config ? { 'grpc.service_config': plan.config } : {};
const client = new grpc.Client('ipv4:' + plan.targets, grpc.credentials.createInsecure(), options);
const codes = {};
const said = {};
let left = Math.max(1, Math.round(plan.rate * plan.seconds));
let open = left;
let slowestMs = 0;
const bytes = (value) => value;

function ask() {
  const begun = performance.now();
  const deadline = Date.now() + plan.timeout * 1000;
  client.makeUnaryRequest(plan.method, bytes, bytes, body, new grpc.Metadata(), { deadline }, (error) => {
    const name = error ? grpc.status[error.code] : 'OK';
    codes[name] = (codes[name] || 0) + 1;
    if (error) said[error.details] = (said[error.details] || 0) + 1;
    slowestMs = Math.max(slowestMs, performance.now() - begun);
    open -= 1;
    if (open === 0) {
      console.log(JSON.stringify({ codes, said, slowest_ms: slowestMs }));
      client.close();
    }
  });
}

const first = performance.now();
const total = left;
function tick() {
  while (left > 0 && performance.now() - first >= ((total - left) * 1000) / plan.rate) {
    left -= 1;
    ask();
  }
  if (left > 0) setTimeout(tick, 1);
}
client.waitForReady(Date.now() + 10000, () => tick());
