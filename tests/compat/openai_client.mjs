// OpenAI's npm client: `node openai_client.mjs STEP` reads what to ask as JSON and writes what it got.
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const { url, model, messages, schema } = JSON.parse(readFileSync(0, "utf8"));
const client = new OpenAI({ baseURL: url, apiKey: "unused", maxRetries: 0 });
const { completions } = client.chat;
const asked = { model, messages, temperature: 0 };
const format = { type: "json_schema", json_schema: { name: "shape", strict: true, schema } };
const tool = { type: "function", function: { name: "report_shape", parameters: schema } };

const steps = {
  async models() {
    const ids = [];
    for await (const one of await client.models.list()) ids.push(one.id);
    return { ids, found: (await client.models.retrieve(model)).id };
  },
  async answer() {
    const { data, request_id } = await completions.create(asked).withResponse();
    return { ...data, request_id };
  },
  async stream() {
    const chunks = [];
    for await (const chunk of await completions.create({
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    })) chunks.push(chunk);
    return chunks;
  },
  async helper() {
    const stream = completions.stream(asked);
    return { content: await stream.finalContent(), usage: await stream.totalUsage() };
  },
  async parse() {
    const answer = await completions.parse({ ...asked, response_format: format });
    return JSON.parse(answer.choices[0].message.content);
  },
  async tool() {
    const answer = await completions.create({ ...asked, tools: [tool], tool_choice: "required" });
    return answer.choices[0];
  },
  async unknown() {
    try {
      await completions.create({ ...asked, model: "gpt-4o" });
    } catch (error) {
      return { typed: error instanceof OpenAI.NotFoundError, code: error.code, request_id: error.requestID };
    }
  },
};

console.log(JSON.stringify(await steps[process.argv[2]]()));
