// Sign-in against the official package's own checks, and what a dishonest relayer could try.
import { parseSIWxHeader, validateSIWxMessage, verifySIWxSignature } from "@x402/extensions/sign-in-with-x";
import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { signIn } from "../../sdk/src/access.ts";

type Challenge = Record<string, unknown>;

describe("signIn", () => {
  const account = privateKeyToAccount(generatePrivateKey());
  const headers: string[] = [];
  let change: (challenge: Challenge) => Challenge = (challenge) => challenge;
  let token: (challenge: Challenge) => Challenge = (answer) => answer;
  let url = "";
  const verdict = async (request: IncomingMessage): Promise<[number, Challenge]> => {
    headers.push(String(request.headers["sign-in-with-x"]));
    const payload = parseSIWxHeader(headers.at(-1)!);
    const fresh = await validateSIWxMessage(payload, new URL(url));
    const signed = await verifySIWxSignature(payload);
    if (!fresh.isValid || !signed.isValid) return [401, { code: "access_denied", detail: JSON.stringify([fresh, signed]) }];
    return [200, token({ token: "good", address: payload.address, expiresAt: "2100-01-01T00:00:00.000Z" })];
  };
  const server = createServer(async (request, response) => {
    const now = Date.now();
    const challenge = { domain: new URL(url).host, uri: url, nonce: randomBytes(16).toString("hex"), issuedAt: new Date(now).toISOString(), expirationTime: new Date(now + 300_000).toISOString(), chainId: "eip155:84532", statement: "Read your payments." };
    const [status, body] = request.url === "/api/v1/access/challenge" ? [200, change(challenge)] : await verdict(request);
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
  before(async () => {
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => server.close());
  beforeEach(() => {
    headers.length = 0;
    change = (challenge) => challenge;
    token = (answer) => answer;
  });
  const codeOf = (work: Promise<unknown>) => work.then(() => "none", (error: { code: string }) => error.code);

  it("the official package takes the proof, with and without statement and expiry, chain id in both forms", async () => {
    expect(await signIn({ relayerUrl: `${url}/`, account })).deep.equal({ token: "good", address: account.address, expiresAt: "2100-01-01T00:00:00.000Z" });
    change = ({ statement: _, expirationTime: __, ...rest }) => ({ ...rest, chainId: 84532 });
    expect((await signIn({ relayerUrl: url, account })).token).equal("good");
  });

  const FOREIGN: [string, Challenge][] = [
    ["another site's domain", { domain: "bank.example" }],
    ["another site's uri", { uri: "https://bank.example/" }],
    ["a statement that writes lines of its own", { statement: "ok\n\nURI: https://bank.example" }],
    ["a nonce that writes lines of its own", { nonce: "12345678\nResources:" }],
    ["no EVM chain", { chainId: "solana:x" }],
    ["no nonce", { nonce: undefined }],
  ];
  for (const [what, fields] of FOREIGN) {
    it(`refuses a challenge with ${what}, and signs nothing`, async () => {
      change = (challenge) => ({ ...challenge, ...fields });
      expect(await codeOf(signIn({ relayerUrl: url, account }))).equal("challenge_refused");
      expect(headers).deep.equal([]);
    });
  }

  it("an expired challenge is the relayer's refusal, with its code; another's token is no token", async () => {
    change = (challenge) => ({ ...challenge, expirationTime: new Date(0).toISOString() });
    expect(await codeOf(signIn({ relayerUrl: url, account }))).equal("access_denied");
    change = (challenge) => challenge;
    token = (answer) => ({ ...answer, address: "0x0000000000000000000000000000000000000001" });
    expect(await codeOf(signIn({ relayerUrl: url, account }))).equal("relayer_malformed");
  });
});
