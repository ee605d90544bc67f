import type { FastifyInstance } from "fastify";
import { Type, type Static } from "typebox";
import { isAddressEqual, type Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { eventStreams } from "../../http/event-stream.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import { readCursor } from "./logic.ts";
import { exportPage, follow, type Exported } from "./service.ts";

const Query = Type.Object({
  receiver: Type.Optional(Type.String({ pattern: "^0x[0-9a-fA-F]{40}$", description: "Yourself; may be left out" })),
  after: Type.Optional(Type.String({ maxLength: 100, description: "Cursor of an earlier answer" })),
});
const Address20 = Type.String();
const Line = Type.Object({
  chainId: Type.Integer(),
  contract: Address20,
  channelConfig: Type.Object({ payer: Address20, payerAuthorizer: Address20, receiver: Address20, receiverAuthorizer: Address20, token: Address20, withdrawDelay: Type.Integer(), salt: Type.String() }),
  channelId: Type.String(),
  maxClaimableAmount: Type.String({ description: "What the payer signed, cumulative" }),
  totalCharged: Type.String({ description: "What was charged, cumulative: what may be claimed" }),
  requestCount: Type.String(),
  signature: Type.String(),
  at: Type.String(),
});

export function exportRoutes(app: FastifyInstance, deps: AccessDeps): void {
  const send = eventStreams(app, "export");
  app.get<{ Querystring: Static<typeof Query> }>(
    "/api/v1/vouchers/export",
    {
      schema: {
        tags: ["vouchers"],
        summary: "The highest charged voucher of each of your channels: what you can claim on chain yourself",
        description: "Accept: text/event-stream follows charges as they are committed (event voucher; the id resumes by Last-Event-ID, in any process). Else one page of what changed after the cursor. A state may come again, none is left out.",
        querystring: Query,
        response: { 200: Type.Object({ vouchers: Type.Array(Line), cursor: Type.String(), more: Type.Boolean() }), 400: problemResponse("Malformed cursor"), 401: problemResponse("Not signed in"), 403: problemResponse("Another's vouchers"), 503: problemResponse("Too many readers") },
      },
    },
    async (request, reply) => {
      const { address } = await callerOf(deps, request);
      mustBeReceiver(address, request.query.receiver as Address | undefined);
      const last = request.headers["last-event-id"] ?? request.query.after;
      const from = typeof last === "string" && last !== "" ? readCursor(last) : undefined;
      if (!/\btext\/event-stream\b/i.test(request.headers.accept ?? "")) return reply.header("Cache-Control", "no-store").send(await exportPage(deps, address, from));
      await send(request, reply, async function* (signal) {
        for await (const part of follow(deps, address, from, signal)) yield frames(part);
      });
      return reply;
    },
  );
}

function mustBeReceiver(caller: Address, receiver: Address | undefined): void {
  if (receiver === undefined || isAddressEqual(caller, receiver)) return;
  throw new TallystickError({ code: "vouchers_not_yours", status: 403, retry: "never", field: "receiver", detail: `You are signed in as ${caller}; only ${receiver} itself reads its vouchers.` });
}

/** The id of a part is good once all of the part was read, so only its last event carries it. */
function frames({ vouchers, cursor }: Exported): string {
  return vouchers.map((line, at) => `${at === vouchers.length - 1 ? `id: ${cursor}\n` : ""}event: voucher\ndata: ${JSON.stringify(line)}\n\n`).join("");
}
