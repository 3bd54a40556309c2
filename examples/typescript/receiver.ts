// Receives Daybook's milestones: proves each one genuine, takes it once, and answers 2xx.
//
//   npm ci && npm run build
//   SECRET=whsec_… PORT=3000 npm start

import { createServer } from "node:http";
import { Webhook as Verifier } from "standardwebhooks";
import type { Notification, Webhook } from "../../docs/schemas/v1/daybook.js"; // a copy of yours

const secret = process.env.SECRET;
if (!secret) {
  console.error("set SECRET, as the stage's secret has it: whsec_…");
  process.exit(1);
}
const verifier = new Verifier(secret);
// In place of a table of yours with the id as its key: what is taken is noted together with what it changes.
const taken = new Set<string>();

function take(id: string, webhook: Webhook): void {
  if (taken.has(id)) return; // sent at least once: this was taken before
  const data = webhook.data as Notification;
  if (webhook.type === "payment.succeeded" && "payment" in data) {
    const { payment } = data;
    console.log(`ship ${payment.reference}: ${payment.captured} ${payment.currency} are paid`);
  }
  taken.add(id);
}

createServer(async (request, response) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks).toString("utf8"); // as it came: parsed and written anew it is another
  try {
    const headers = request.headers as Record<string, string>;
    take(headers["webhook-id"], verifier.verify(body, headers) as Webhook);
    response.writeHead(204).end();
  } catch (error) {
    console.error(String(error)); // not 2xx: Daybook sends it again
    response.writeHead(400).end();
  }
}).listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => console.log("ready"));
