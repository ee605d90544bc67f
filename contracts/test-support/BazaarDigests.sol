// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Digests} from "./Digests.sol";
import {IBazaarRegistry} from "../interfaces/IBazaarRegistry.sol";

/// @notice What signers of BazaarRegistry sign, computed here from the type strings and by plain means, never by asking the
/// contract under test.
library BazaarDigests {
    string private constant OFFER =
        "ServiceOffer(bytes32 capability,uint64 categories,uint128 price,uint16 schemes,uint8 visibility,bytes32 contentHash,string uri)";
    string private constant TERMS = "ServiceTerms(address payTo,address token,ServiceOffer offer)";

    function _typed(address registry, bytes32 structHash) private view returns (bytes32) {
        bytes32 domain = Digests.domain("Tallystick Bazaar Registry", "1", registry);
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function serviceId(address registry, IBazaarRegistry.ServiceKey memory key) internal view returns (bytes32) {
        return _typed(
            registry,
            keccak256(
                abi.encode(
                    keccak256("Service(uint256 agent,address owner,bytes32 salt)"), key.agent, key.owner, key.salt
                )
            )
        );
    }

    function offerHash(IBazaarRegistry.Offer memory o) internal pure returns (bytes32) {
        // In two halves: unoptimized code runs out of stack with all at once.
        bytes memory first = abi.encode(keccak256(bytes(OFFER)), o.capability, o.categories, o.price);
        return keccak256(
            bytes.concat(first, abi.encode(o.schemes, o.visibility, o.contentHash, keccak256(bytes(o.uri))))
        );
    }

    function termsHash(IBazaarRegistry.Terms memory t) internal pure returns (bytes32) {
        bytes32 typehash = keccak256(abi.encodePacked(TERMS, OFFER));
        return keccak256(abi.encode(typehash, t.payTo, t.token, offerHash(t.offer)));
    }

    function listing(address registry, bytes32 id, IBazaarRegistry.Terms memory t, bool publish, uint256 deadline)
        internal
        view
        returns (bytes32)
    {
        bytes32 typehash = keccak256(
            abi.encodePacked(
                "ListService(bytes32 serviceId,ServiceTerms terms,bool publish,uint256 deadline)", OFFER, TERMS
            )
        );
        return _typed(registry, keccak256(abi.encode(typehash, id, termsHash(t), publish, deadline)));
    }

    function updating(
        address registry,
        bytes32 id,
        uint24 revision,
        IBazaarRegistry.Terms memory t,
        uint256 deadline
    ) internal view returns (bytes32) {
        bytes32 typehash = keccak256(
            abi.encodePacked(
                "UpdateService(bytes32 serviceId,uint24 revision,ServiceTerms terms,uint256 deadline)", OFFER, TERMS
            )
        );
        return _typed(registry, keccak256(abi.encode(typehash, id, revision, termsHash(t), deadline)));
    }

    function status(address registry, bytes32 id, uint24 revision, IBazaarRegistry.Status to, uint256 deadline)
        internal
        view
        returns (bytes32)
    {
        bytes32 typehash =
            keccak256("SetServiceStatus(bytes32 serviceId,uint24 revision,uint8 status,uint256 deadline)");
        return _typed(registry, keccak256(abi.encode(typehash, id, revision, to, deadline)));
    }

    function unbonding(address registry, bytes32 id, uint24 revision, uint128 amount, uint256 deadline)
        internal
        view
        returns (bytes32)
    {
        bytes32 typehash =
            keccak256("UnbondService(bytes32 serviceId,uint24 revision,uint128 amount,uint256 deadline)");
        return _typed(registry, keccak256(abi.encode(typehash, id, revision, amount, deadline)));
    }

    function rating(
        address registry,
        bytes32 id,
        bytes32 source,
        uint128 claimed,
        IBazaarRegistry.Opinion memory o
    ) internal view returns (bytes32) {
        bytes32 typehash = keccak256(
            "RateService(bytes32 serviceId,bytes32 source,uint128 claimed,uint8 score,bytes32 details,bool forward,uint256 deadline)"
        );
        bytes memory first = abi.encode(typehash, id, source, claimed);
        return _typed(
            registry, keccak256(bytes.concat(first, abi.encode(o.score, o.details, o.forward, o.deadline)))
        );
    }
}
