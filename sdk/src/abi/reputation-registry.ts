// Generated from contracts/mocks/ReputationRegistry.sol by scripts/generate.ts (npm run build). Do not edit.
export const reputationRegistryAbi = [
  {"inputs":[{"name":"identityRegistry","type":"address"}],"stateMutability":"nonpayable","type":"constructor"},
  {"inputs":[{"name":"valueDecimals","type":"uint8"}],"name":"InvalidDecimals","type":"error"},
  {"inputs":[{"name":"client","type":"address"},{"name":"agentId","type":"uint256"}],"name":"SelfFeedback","type":"error"},
  {"inputs":[{"name":"agentId","type":"uint256"},{"name":"client","type":"address"},{"name":"feedbackIndex","type":"uint64"}],"name":"UnknownFeedback","type":"error"},
  {"anonymous":false,"inputs":[{"indexed":true,"name":"agentId","type":"uint256"},{"indexed":true,"name":"clientAddress","type":"address"},{"indexed":true,"name":"feedbackIndex","type":"uint64"}],"name":"FeedbackRevoked","type":"event"},
  {"anonymous":false,"inputs":[{"indexed":true,"name":"agentId","type":"uint256"},{"indexed":true,"name":"clientAddress","type":"address"},{"indexed":false,"name":"feedbackIndex","type":"uint64"},{"indexed":false,"name":"value","type":"int128"},{"indexed":false,"name":"valueDecimals","type":"uint8"},{"indexed":true,"name":"indexedTag1","type":"string"},{"indexed":false,"name":"tag1","type":"string"},{"indexed":false,"name":"tag2","type":"string"},{"indexed":false,"name":"endpoint","type":"string"},{"indexed":false,"name":"feedbackURI","type":"string"},{"indexed":false,"name":"feedbackHash","type":"bytes32"}],"name":"NewFeedback","type":"event"},
  {"inputs":[{"name":"agentId","type":"uint256"}],"name":"getClients","outputs":[{"name":"","type":"address[]"}],"stateMutability":"view","type":"function"},
  {"inputs":[],"name":"getIdentityRegistry","outputs":[{"name":"","type":"address"}],"stateMutability":"view","type":"function"},
  {"inputs":[{"name":"agentId","type":"uint256"},{"name":"client","type":"address"}],"name":"getLastIndex","outputs":[{"name":"","type":"uint64"}],"stateMutability":"view","type":"function"},
  {"inputs":[{"name":"agentId","type":"uint256"},{"name":"value","type":"int128"},{"name":"valueDecimals","type":"uint8"},{"name":"tag1","type":"string"},{"name":"tag2","type":"string"},{"name":"endpoint","type":"string"},{"name":"feedbackURI","type":"string"},{"name":"feedbackHash","type":"bytes32"}],"name":"giveFeedback","outputs":[],"stateMutability":"nonpayable","type":"function"},
  {"inputs":[{"name":"agentId","type":"uint256"},{"name":"client","type":"address"},{"name":"feedbackIndex","type":"uint64"}],"name":"readFeedback","outputs":[{"name":"value","type":"int128"},{"name":"valueDecimals","type":"uint8"},{"name":"tag1","type":"string"},{"name":"tag2","type":"string"},{"name":"isRevoked","type":"bool"}],"stateMutability":"view","type":"function"},
  {"inputs":[{"name":"agentId","type":"uint256"},{"name":"feedbackIndex","type":"uint64"}],"name":"revokeFeedback","outputs":[],"stateMutability":"nonpayable","type":"function"},
] as const;
