// Services that their owners list: whose they are, what is refused, and that a relayer on a public network calls no private address.
import { expect } from "chai";
import { generatePrivateKey, privateKeyToAccount, type PrivateKeyAccount } from "viem/accounts";
import { signIn } from "../../sdk/src/access.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("services API", function () {
  this.timeout(60_000);
  let world: TestWorld;
  let base: string;
  before(async () => {
    world = await startTestWorld();
    base = world.relayer.deps.config.publicUrl;
  });
  after(() => world.stop());

  const [owner, other] = [privateKeyToAccount(generatePrivateKey()), privateKeyToAccount(generatePrivateKey())];
  async function call(account: PrivateKeyAccount | undefined, method: string, path: string, body?: unknown, url = base): Promise<[number, Record<string, unknown>]> {
    const token: Record<string, string> = account === undefined ? {} : { authorization: `Bearer ${(await signIn({ relayerUrl: url, account })).token}` };
    const response = await fetch(`${url}/api/v1/services${path}`, { method, headers: body === undefined ? token : { ...token, "content-type": "application/json" }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    const text = await response.text();
    return [response.status, text === "" ? {} : (JSON.parse(text) as Record<string, unknown>)];
  }
  const offer = (change: Record<string, unknown> = {}) => ({ name: "mine", origin: world.provider.origin, priceAtomic: "1500", description: "echoes", ...change });

  it("belongs to whoever listed the name first; the same again changes nothing, other terms need PUT", async () => {
    const [status, listed] = await call(owner, "POST", "", offer());
    expect([status, listed["receiver"], listed["owner"], listed["priceAtomic"]]).to.deep.equal([201, owner.address, owner.address, "1500"]);
    expect([200, 201]).to.include((await call(owner, "POST", "", offer()))[0]);
    expect((await call(owner, "POST", "", offer({ priceAtomic: "1600" })))[0]).to.equal(409);
    expect((await call(other, "POST", "", offer()))[0]).to.equal(409);
    expect((await call(other, "PUT", "/mine", offer({ priceAtomic: "1" })))[0]).to.equal(403);
    expect((await call(other, "DELETE", "/mine"))[0]).to.equal(403);
    expect((await call(undefined, "POST", "", offer({ name: "nobodys" })))[0]).to.equal(401);
    const [changed, now] = await call(owner, "PUT", "/mine", offer({ priceAtomic: "1600" }));
    expect([changed, now["priceAtomic"]]).to.deep.equal([200, "1600"]);
    expect((await fetch(`${base}/s/mine/`)).status).to.equal(402);
  });

  it("a configured service is nobody's to take or change", async () => {
    expect((await call(owner, "POST", "", offer({ name: "echo" })))[0]).to.equal(409);
    expect((await call(owner, "PUT", "/echo", offer({ name: "echo" })))[0]).to.equal(403);
    expect((await call(owner, "DELETE", "/echo"))[0]).to.equal(403);
  });

  it("names what is wrong with an offer", async () => {
    const cases: [Record<string, unknown>, string][] = [
      [{ name: "Bad Name" }, "name"], [{ priceAtomic: "0" }, "priceAtomic"], [{ priceAtomic: 5 }, "priceAtomic"], [{ origin: "ftp://x" }, "origin"], [{ origin: "http://x/?a" }, "origin"], [{ receiver: "0x12" }, "receiver"], [{ withdrawDelayS: 1 }, "withdrawDelayS"],
    ];
    for (const [change, field] of cases) {
      const [status, problem] = await call(owner, "POST", "", offer({ name: "fresh", ...change }));
      expect([status, problem["field"]], JSON.stringify(change)).to.deep.equal([400, field]);
    }
  });

  it("calls no private address where that is not allowed", async () => {
    const strict = await world.anotherRelayer({ RELAYER_OUTBOUND_ALLOW_PRIVATE: "false" });
    const url = strict.relayer.deps.config.publicUrl;
    for (const origin of ["http://127.0.0.1:80", "http://localhost", "http://10.1.2.3", "http://[::1]", "http://169.254.169.254", "http://0x7f000001"]) {
      const [status, problem] = await call(owner, "POST", "", offer({ name: "inside", origin }), url);
      expect([status, problem["field"]], origin).to.deep.equal([400, "origin"]);
    }
  });

  it("taken off sale it sells nothing, and its name stays its owner's", async () => {
    expect((await call(owner, "DELETE", "/mine"))[0]).to.be.within(200, 204);
    expect((await fetch(`${base}/s/mine/`)).status).to.equal(404);
    expect((await call(other, "POST", "", offer()))[0]).to.equal(409);
  });
});
