// A provider of OpenID Connect on this machine, with the pages its own library brings.
//
// PROVIDER: {"issuer", "port", "client": {...}, "accounts": {login: claims}} as JSON. Who knows the address
// may change accounts (PUT /test/accounts) and have claims of the next ID token replaced and signed again
// with the provider's own key (PUT /test/forge; null takes one out): what no honest provider does.
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";
import Provider from "oidc-provider";
import { SignJWT, decodeJwt, importJWK } from "jose";

const given = JSON.parse(process.env.PROVIDER);
let accounts = given.accounts;
let forge = null;

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const jwk = { ...privateKey.export({ format: "jwk" }), kid: "interop", use: "sig", alg: "RS256" };

const provider = new Provider(given.issuer, {
  clients: [given.client],
  jwks: { keys: [jwk] },
  cookies: { keys: ["a key of this test"] },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  features: { devInteractions: { enabled: true } },
  pkce: { required: () => true },
  findAccount: (_, sub) => accounts[sub] && { accountId: sub, claims: () => ({ sub, ...accounts[sub] }) },
});

provider.use(async (ctx, next) => {
  await next();
  if (ctx.path !== "/token" || forge === null || !ctx.body?.id_token) return;
  const claims = { ...decodeJwt(ctx.body.id_token), ...forge };
  for (const [name, value] of Object.entries(claims)) if (value === null) delete claims[name];
  const key = await importJWK(jwk, "RS256");
  ctx.body = {
    ...ctx.body,
    id_token: await new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: jwk.kid }).sign(key),
  };
  forge = null;
});

const answer = provider.callback();
createServer(async (request, response) => {
  if (request.method !== "PUT") return answer(request, response);
  let body = "";
  for await (const part of request) body += part;
  if (request.url === "/test/accounts") accounts = JSON.parse(body);
  if (request.url === "/test/forge") forge = JSON.parse(body);
  response.writeHead(204).end();
}).listen(given.port, "127.0.0.1", () => console.log(`provider ready on ${given.issuer}`));
