// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBazaarRegistry} from "../interfaces/IBazaarRegistry.sol";

/// @title BazaarTypes
/// @notice EIP-712 types of BazaarRegistry. The same types, for signers: sdk/src/bazaar.ts and bazaar-messages.ts.
/// @dev Terms hold the offer by its hash, so whoever proves where a service is paid passes three words instead of all.
library BazaarTypes {
    bytes32 internal constant SERVICE = keccak256("Service(uint256 agent,address owner,bytes32 salt)");

    bytes32 internal constant OFFER = keccak256(
        "ServiceOffer(bytes32 capability,uint64 categories,uint128 price,uint16 schemes,uint8 visibility,bytes32 contentHash,string uri)"
    );

    bytes32 internal constant TERMS = keccak256(
        "ServiceTerms(address payTo,address token,ServiceOffer offer)ServiceOffer(bytes32 capability,uint64 categories,uint128 price,uint16 schemes,uint8 visibility,bytes32 contentHash,string uri)"
    );

    bytes32 internal constant LIST = keccak256(
        "ListService(bytes32 serviceId,ServiceTerms terms,bool publish,uint256 deadline)ServiceOffer(bytes32 capability,uint64 categories,uint128 price,uint16 schemes,uint8 visibility,bytes32 contentHash,string uri)ServiceTerms(address payTo,address token,ServiceOffer offer)"
    );

    bytes32 internal constant UPDATE = keccak256(
        "UpdateService(bytes32 serviceId,uint24 revision,ServiceTerms terms,uint256 deadline)ServiceOffer(bytes32 capability,uint64 categories,uint128 price,uint16 schemes,uint8 visibility,bytes32 contentHash,string uri)ServiceTerms(address payTo,address token,ServiceOffer offer)"
    );

    bytes32 internal constant STATUS =
        keccak256("SetServiceStatus(bytes32 serviceId,uint24 revision,uint8 status,uint256 deadline)");

    bytes32 internal constant UNBOND =
        keccak256("UnbondService(bytes32 serviceId,uint24 revision,uint128 amount,uint256 deadline)");

    bytes32 internal constant RATING = keccak256(
        "RateService(bytes32 serviceId,bytes32 source,uint128 claimed,uint8 score,bytes32 details,bool forward,uint256 deadline)"
    );

    function hashOffer(IBazaarRegistry.Offer calldata offer) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                OFFER,
                offer.capability,
                offer.categories,
                offer.price,
                offer.schemes,
                offer.visibility,
                offer.contentHash,
                keccak256(bytes(offer.uri))
            )
        );
    }

    function hashTerms(address payTo, address token, bytes32 offerHash) internal pure returns (bytes32) {
        return keccak256(abi.encode(TERMS, payTo, token, offerHash));
    }

    function hashTerms(IBazaarRegistry.Terms calldata terms) internal pure returns (bytes32) {
        return hashTerms(terms.payTo, terms.token, hashOffer(terms.offer));
    }

    function hashRef(IBazaarRegistry.TermsRef calldata terms) internal pure returns (bytes32) {
        return hashTerms(terms.payTo, terms.token, terms.offerHash);
    }

    function hashRating(
        bytes32 serviceId,
        bytes32 source,
        uint128 claimed,
        IBazaarRegistry.Opinion calldata opinion
    ) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                RATING,
                serviceId,
                source,
                claimed,
                opinion.score,
                opinion.details,
                opinion.forward,
                opinion.deadline
            )
        );
    }
}
