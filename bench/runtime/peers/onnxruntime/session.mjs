// ONNX Runtime behind a line protocol: a request a line on standard input, an answer a line on standard output, JSON.
//   {"load": NAME, "path": FILE, "threads": N}              {"rss": bytes}
//   {"run": NAME, "input": INPUT, "from": FILE, "shape": …}  {"ms": …, "outputs": {NAME: [dims]}}   reads and keeps a tensor
//   {"run": NAME}                                            {"ms": …}                              the same again
// With "to": DIR every output lands there as NAME.f32.
import {createRequire} from 'node:module';
import {createInterface} from 'node:readline';
import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

const ort = createRequire(process.argv[2] + '/')('onnxruntime-node');
const sessions = {}, feeds = {};

async function answer(request) {
  if (request.load) {
    sessions[request.load] = await ort.InferenceSession.create(request.path, {
      intraOpNumThreads: request.threads, interOpNumThreads: 1, graphOptimizationLevel: 'all', logSeverityLevel: 3});
    return {rss: process.memoryUsage().rss};
  }
  if (request.from) {
    const bytes = readFileSync(request.from);
    const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    feeds[request.run] = {[request.input]: new ort.Tensor('float32', values, request.shape)};
  }
  const begin = process.hrtime.bigint();
  const outputs = await sessions[request.run].run(feeds[request.run]);
  const ms = Number(process.hrtime.bigint() - begin) / 1e6;
  if (request.to) {
    for (const [name, tensor] of Object.entries(outputs)) {
      writeFileSync(join(request.to, name + '.f32'), Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength));
    }
  }
  return {ms, rss: process.memoryUsage().rss};
}

for await (const line of createInterface({input: process.stdin})) {
  let reply;
  try {
    reply = await answer(JSON.parse(line));
  } catch (error) {
    reply = {error: String(error)};
  }
  process.stdout.write(JSON.stringify(reply) + '\n');
}
