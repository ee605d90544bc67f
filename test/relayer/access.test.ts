// Signing in: with the SDK, with the official extension's client, and with everything that must not get in.
import { createSIWxPayload, encodeSIWxHeader } from "@x402/extensions/sign-in-with-x";
import { expect } from "chai";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { signChallenge, signIn, type Challenge } from "../../sdk/src/access.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("access", function () {
  this.timeout(60_000);
  let world: TestWorld;
  let base: string;
  before(async () => {
    world = await startTestWorld();
    base = world.relayer.deps.config.publicUrl;
  });
  after(() => world.stop());

  const account = privateKeyToAccount(generatePrivateKey());
  const challenge = async () => (await (await fetch(`${base}/api/v1/access/challenge`)).json()) as Challenge;
  const exchange = (proof: string, url = base) => fetch(`${url}/api/v1/access/tokens`, { method: "POST", headers: { "sign-in-with-x": proof } });
  const codeOf = async (response: Response) => [response.status, ((await response.json()) as { code: string }).code];
  const revoke = (token: string) => fetch(`${base}/api/v1/access/tokens`, { method: "DELETE", headers: { authorization: `Bearer ${token}` } });

  it("gives a token for a signature, in any process, and takes it back", async () => {
    const { token, address } = await signIn({ relayerUrl: base, account });
    expect(address).to.equal(account.address);
    const { rows } = await world.relayer.deps.db.query("SELECT count(*) AS n FROM access_token WHERE encode(token_hash, 'hex') = $1", [token.slice(4)]);
    expect(rows[0].n, "only its hash is kept").to.equal(0n);
    expect((await revoke(token)).status).to.equal(204);
    expect(await codeOf(await revoke(token))).to.deep.equal([401, "access_denied"]);
  });

  it("understands the official client's proof", async () => {
    const { chainId, type, ...info } = await challenge();
    const payload = await createSIWxPayload({ ...info, chainId, type } as Parameters<typeof createSIWxPayload>[0], account, `${base}/x`);
    expect((await exchange(encodeSIWxHeader(payload))).status).to.equal(201);
  });

  it("takes a challenge once", async () => {
    const proof = await signChallenge(await challenge(), account);
    expect((await exchange(proof)).status).to.equal(201);
    expect(await codeOf(await exchange(proof))).to.deep.equal([401, "invalid_siwx_nonce"]);
  });

  it("refuses forged, foreign, stale and malformed proofs, and nobody can burn another's challenge", async () => {
    const given = await challenge();
    const decode = (proof: string) => JSON.parse(atob(proof)) as Record<string, string>;
    const proof = await signChallenge(given, account);
    const victim = privateKeyToAccount(generatePrivateKey());
    const old = new Date(Date.now() - 3_600_000).toISOString();
    const cases: [string, string][] = [
      [btoa(JSON.stringify({ ...decode(proof), address: victim.address })), "invalid_siwx_signature"],
      [await signChallenge({ ...given, domain: "elsewhere.test" }, account), "invalid_siwx_domain_mismatch"],
      [await signChallenge({ ...given, uri: "https://elsewhere.test" }, account), "invalid_siwx_uri_mismatch"],
      [await signChallenge({ ...given, issuedAt: old }, account), "invalid_siwx_issued_at_too_old"],
      [await signChallenge({ ...given, nonce: "0".repeat(32) }, account), "invalid_siwx_nonce"],
      [await signChallenge({ ...given, chainId: "eip155:1" }, account), "invalid_siwx_unsupported_chain"],
      ["!!!", "invalid_siwx_malformed_signature"],
    ];
    for (const [bad, code] of cases) expect(await codeOf(await exchange(bad)), code).to.deep.equal([401, code]);
    expect((await exchange(proof)).status, "the challenge is still good for its signer").to.equal(201);
    expect(await codeOf(await fetch(`${base}/api/v1/access/tokens`, { method: "POST" }))).to.deep.equal([401, "access_required"]);
  });

  it("the SDK signs nothing that is no challenge, and keeps no token of somebody else's", async () => {
    const twisted = (change: object): typeof fetch => async (input, init) => {
      const response = await fetch(input, init);
      return String(input).endsWith("/challenge") ? new Response(JSON.stringify({ ...((await response.json()) as object), ...change })) : response;
    };
    const codeFor = (fetcher: typeof fetch) => signIn({ relayerUrl: base, account, fetch: fetcher }).then(() => "in", (error: { code: string }) => error.code);
    for (const change of [{ uri: "junk" }, { nonce: "a\nb" }, { statement: "one\n\nURI: https://bank.test" }, { chainId: "solana:x" }, { issuedAt: "soon" }, { version: "2" }]) {
      expect(await codeFor(twisted(change)), JSON.stringify(change)).to.equal("challenge_malformed");
    }
    const swapped: typeof fetch = async (input, init) => {
      const response = await fetch(input, init);
      return String(input).endsWith("/tokens") ? new Response(JSON.stringify({ ...((await response.json()) as object), address: privateKeyToAccount(generatePrivateKey()).address })) : response;
    };
    expect(await codeFor(swapped)).to.equal("access_refused");
  });

  it("the SDK signs for nobody else's site", async () => {
    const phishing: typeof fetch = async (input, init) => {
      const response = await fetch(input, init);
      return new Response(JSON.stringify({ ...((await response.json()) as object), domain: "bank.test", uri: "https://bank.test" }));
    };
    expect(await signIn({ relayerUrl: base, account, fetch: phishing }).catch((error: { code: string }) => error.code)).to.equal("challenge_foreign");
  });
});
