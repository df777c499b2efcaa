// Ollama's npm client: `node ollama_client.mjs STEP` reads what to ask as JSON and writes what it got.
import { readFileSync } from "node:fs";
import { Ollama } from "ollama";

const { url, model, prompt, image, schema } = JSON.parse(readFileSync(0, "utf8"));
const client = new Ollama({ host: url });
const options = { temperature: 0 };
const messages = [{ role: "user", content: prompt, images: [image] }];

async function gathered(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

const steps = {
  async models() {
    const { version } = await client.version();
    const { models } = await client.list();
    return { version, names: models.map((one) => one.name), shown: await client.show({ model }) };
  },
  chat: () => client.chat({ model, messages, options }),
  bytes: () => client.chat({ model, messages: [{ ...messages[0], images: [Buffer.from(image, "base64")] }], options }),
  stream: async () => gathered(await client.chat({ model, messages, options, stream: true })),
  generate: () => client.generate({ model, prompt, images: [image], options }),
  format: () => client.chat({ model, messages, options, format: schema }),
  pull: async () => gathered(await client.pull({ model, stream: true })),
  async remove() {
    await client.delete({ model });
    return (await client.list()).models.map((one) => one.name);
  },
  async running() {
    await client.chat({ model, messages, options, keep_alive: "5m" });
    return (await client.ps()).models.map((one) => one.name);
  },
  async unknown() {
    try {
      await client.chat({ model: "nothing", messages });
    } catch (error) {
      return { name: error.name, status: error.status_code, message: error.message };
    }
  },
};

console.log(JSON.stringify(await steps[process.argv[2]]()));
